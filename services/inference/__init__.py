import os

# gRPC reads it when it is imported. What its core would write, that a port is taken say, we say with what to do next.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
