"""Files that are neither text nor images, as text: PDF, Word, notebooks, tables."""
