"""Decision problems, one file each: decisions, metrics, constraints and objectives, and no solver code.

Installed as `mlsysim_opt.formulations`. A formulation is found through the entry-point group
``mlsysim_opt.formulations``, so nothing here imports the files beside it, and one that lives in another
distribution is used in exactly the same way.
"""
