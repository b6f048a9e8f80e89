"""TLS for both sides: contexts from settings, the handshake on a non-blocking socket, and what is known of the peer."""
