"""Everything about HTTP: how requests are read, limited and refused, and how routes declare what they take."""
