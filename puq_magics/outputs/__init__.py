"""From what came back to what a person sees and a variable holds."""
