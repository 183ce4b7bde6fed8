"""
What an administrator must write to switch tracing on in kube-apiserver and etcd, per version.

`versions` is the table of rules, `render` writes from it, `check` reads by it, `probe` asks a cluster.
YAML needs the extra `setup`.
"""
