"""The rules of the papers and of the code behind Medal S and SAT; their families alone import them."""
