"""Problems whose parts share something: sums of amounts over tables of local designs, compiled to one program."""
