"""The documentation as data: its pages, what they link to, and the commands and files in them."""
