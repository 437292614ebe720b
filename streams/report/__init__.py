"""How results are shown to people: text tables, one self-contained HTML page, plots."""
