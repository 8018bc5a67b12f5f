"""Results, views, tables and the Markdown sanitiser: what a person sees and a variable holds."""
