"""Output for people: text, HTML and notebooks."""
