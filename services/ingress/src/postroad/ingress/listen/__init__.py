"""The ports: accepting connections, PROXY headers, the TLS certificate, and the drain."""
