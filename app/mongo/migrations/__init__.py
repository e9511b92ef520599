"""How a database is made, and brought to the form that a newer version needs."""
