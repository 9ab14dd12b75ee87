"""The paper against its own tables, and a corpus's data and features against themselves."""
