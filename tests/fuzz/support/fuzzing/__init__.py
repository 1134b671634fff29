"""Random instances, and the independent enumeration that the package is held against."""
