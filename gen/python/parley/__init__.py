"""Typed Python stubs of Parley's contract, one package a service.

    from parley.user.v1 import user_pb2, user_pb2_grpc

Everything below is generated from the `.proto` files by `make gen`; edit those instead.
"""
