"""What `thrum init` finds and proposes: languages, tools, and the text of the two configuration files."""
