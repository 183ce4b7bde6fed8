"""What people look at: text, HTML and notebooks."""
