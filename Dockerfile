# One image per service; EXTRAS says which of pyproject's extras it holds: features, learn, serve, gateway or console.
#
#   docker build --build-arg EXTRAS=serve --tag freshet-inference .
#
# Where pip's ordinary index gives torch's CUDA build (Linux x86-64), --build-arg PIP_EXTRA_INDEX_URL=… names an index
# that holds the CPU build; the README says which.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS dependencies
ARG EXTRAS
ARG PIP_EXTRA_INDEX_URL
WORKDIR /build
# What is installed follows from these two files alone, so that a change of the code installs nothing again.
COPY pyproject.toml constraints.txt ./
RUN touch README.md LICENSE \
 && mkdir -p services/client \
 && python -m venv --without-pip /opt/venv \
 && pip --python /opt/venv/bin/python install --no-cache-dir --constraint constraints.txt ".[${EXTRAS}]" \
 # What torch brings to compile against it, and tests that packages bring of themselves.
 && rm -rf /opt/venv/lib/python3.*/site-packages/torch/include /opt/venv/lib/python3.*/site-packages/torch/test \
      /opt/venv/lib/python3.*/site-packages/pandas/tests /opt/venv/lib/python3.*/site-packages/numba/tests \
 && find /opt/venv/lib/python3.*/site-packages/numpy /opt/venv/lib/python3.*/site-packages/sympy \
      /opt/venv/lib/python3.*/site-packages/networkx -type d -name tests -prune -exec rm -rf {} + 2>/dev/null || true

FROM ${BASE} AS code
WORKDIR /app
COPY . .
RUN python -m compileall -q .

# Machine code is kept in /app, which a service can't write to. Made for any processor of its kind, it runs wherever the
# image does; --build-arg CPU=x86-64-v3, say, makes it for newer ones alone.
FROM code AS compiled
ARG CPU=generic
COPY --from=dependencies /opt/venv /opt/venv
RUN if [ -d /opt/venv/lib/python3.*/site-packages/numba ]; then \
      NUMBA_CPU_NAME=${CPU} NUMBA_CPU_FEATURES= PYTHONDONTWRITEBYTECODE=1 /opt/venv/bin/python -m shared.numeric.compiled; \
    fi

FROM ${BASE}
# One id in all images: trainer writes what inference and evaluator read. The folders are here so that a new volume
# mounted on one of them is the user's.
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /tmp --shell /usr/sbin/nologin freshet \
 && for state in trainer models inference replay sample dashboards; do install -d -o freshet -g freshet "/var/lib/freshet/$state"; done
COPY --from=dependencies /opt/venv /opt/venv
COPY --from=compiled /app /app
WORKDIR /app
USER freshet
ARG CPU=generic
ENV NUMBA_CPU_NAME=${CPU} \
    NUMBA_CPU_FEATURES= \
    PATH=/opt/venv/bin:${PATH} \
    PYTHONPATH=/app:/app/services/client \
    PYTHONDONTWRITEBYTECODE=1 \
    OMP_NUM_THREADS=1
# Python itself is process 1: it hears SIGTERM, and finishes what is in flight.
ENTRYPOINT ["python", "-m"]
CMD ["services.console"]
