"""The code blocks of the documents this system was first described in, extracted and run."""
