"""
Enabling tracing in kube-apiserver and etcd, per version.

`versions` is the table of rules, `render` writes files, `check` finds mistakes in files, `probe` tests a cluster.
YAML needs the extra `setup`.
"""
