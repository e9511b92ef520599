"""The HTTP shape of everything: how requests are read, limited and refused, and how routes declare themselves."""
