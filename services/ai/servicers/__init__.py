"""The gRPC shells of the ai service: they translate, call, translate."""
