import os

# gRPC reads this when imported, so it must be set before any module of inference imports grpc. Its core's messages (a
# port is in use, for example) repeat errors that inference reports with what to do next.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
