"""The facts: YAML files by kind, each number with its unit and its source. Read through
`mlsysim_opt.registry`."""
