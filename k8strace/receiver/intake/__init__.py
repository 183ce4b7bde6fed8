"""A request from the wire: who sends it, how much of it is taken, and what is answered."""
