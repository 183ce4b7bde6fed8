"""One request from the wire: its sender, how much of it is accepted, and the answer."""
