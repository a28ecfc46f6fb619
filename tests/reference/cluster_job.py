"""Reads an indexed Job of Kubernetes: checks what its parts must agree in, and prints the command of its pods as JSON.

    python cluster_job.py embed-job.yaml
"""

import json
import sys

import yaml


def main():
    with open(sys.argv[1]) as file:
        job = yaml.safe_load(file)
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job"), job
    spec = job["spec"]
    assert spec["completionMode"] == "Indexed", spec
    (container,) = spec["template"]["spec"]["containers"]
    variables = {variable["name"]: variable["value"] for variable in container["env"]}
    assert variables["SHARDS"] == str(spec["completions"]), "each shard has a pod"
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts.keys() == {volume["name"] for volume in spec["template"]["spec"]["volumes"]}
    assert mounts["store"] == variables["RESECT_STORE"], mounts
    assert variables["PIPELINE"].startswith(mounts["pipeline"] + "/"), mounts
    print(json.dumps({"command": container["command"] + container["args"]}))


if __name__ == "__main__":
    main()
