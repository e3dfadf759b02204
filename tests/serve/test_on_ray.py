"""The service on Ray: the same answers, a killed replica loses no request, and at the end nothing is left."""

import concurrent.futures
import contextlib
import importlib
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest
import yaml
from own_process import command
from served import ask, png
from small_model import model, write_model
from test_service_process import PNG, asked, free_port, run, wait_for

from moganet.serve.plan import Spread
from moganet.serve.ray_app import Options

pytest.importorskip("ray.serve", reason="ray is not installed (extra 'scale')")
ROOT = Path(__file__).parents[2]
EXPLAIN = "/v1/explain?method=occlusion&format=json"


def processes_of(pid):
    """Give the processes that a process has started, and those that these have, with their titles."""
    parents, titles = {}, {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            stat = (place / "stat").read_text()
            titles[int(place.name)] = (place / "cmdline").read_bytes().split(b"\0")[0].decode()
        except OSError:
            continue
        parents[int(place.name)] = int(stat.rpartition(")")[2].split()[1])
    found, wanted = {}, {pid}
    while wanted:
        wanted = {child for child, parent in parents.items() if parent in wanted}
        found |= {child: titles[child] for child in wanted}
    return found


def replicas_of(pid):
    return [child for child, title in processes_of(pid).items() if "ServeReplica" in title]


linux = pytest.mark.skipif(sys.platform != "linux", reason="processes are looked for in /proc")


@contextlib.contextmanager
def service_on_ray(file, replicas):
    """Start a service and stop it; at the end nothing of it may be left. Give its process and its port."""
    port, begun = free_port(), set()
    process = command("serve", f"small={file}", "--engine", "ray", "--replicas", replicas, "--port", port, leads=True)
    try:
        wait_for(lambda: asked(port)[0] == 200, "start", 300)
        yield process, port
        begun |= set(processes_of(process.pid))
        process.send_signal(signal.SIGTERM)
    except BaseException:
        process.send_signal(signal.SIGKILL)
        raise
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0 and "Traceback" not in said and "ray." not in said, said
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in begun), "end of all processes", 30)


def answer_of(path):
    """Give what the service says without Ray."""
    return ask("POST", f"{path}&model=small", content=png(), headers=PNG).content


@linux
def test_a_service_on_ray_answers_as_the_service_does():
    with service_on_ray(model(), 1) as (process, port):
        assert len(replicas_of(process.pid)) == 1
        for path in ("/v1/predict?top_k=2", EXPLAIN):
            assert asked(port, "POST", path, png()) == (200, answer_of(path))


@pytest.mark.slow
@linux
def test_a_killed_replica_loses_no_request_and_changed_models_are_taken(tmp_path):
    file = tmp_path / "one.safetensors"
    shutil.copy(model(), file)
    with service_on_ray(file, 2) as (process, port):
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            asking = [pool.submit(asked, port, "POST", EXPLAIN, png()) for _ in range(12)]
            time.sleep(0.3)
            os.kill(replicas_of(process.pid)[0], signal.SIGKILL)
            assert {one.result() for one in asking} == {(200, answer_of(EXPLAIN))}
        wait_for(lambda: len(replicas_of(process.pid)) == 2, "other replica", 120)
        assert b"moganet_repeated_requests_total 0.0" not in asked(port, path="/metrics")[1]

        # A broken file is not taken, a changed one is
        file.write_bytes(model().read_bytes()[:5000])
        process.send_signal(signal.SIGHUP)
        wait_for(lambda: b'reloads_total{outcome="kept"} 1.0' in asked(port, path="/metrics")[1], "reload", 120)
        first = json.loads(asked(port, "POST", "/v1/predict", png())[1])
        write_model(file, seed="other")
        process.send_signal(signal.SIGHUP)
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            while b'outcome="changed"} 1.0' not in asked(port, path="/metrics")[1]:
                two = [pool.submit(asked, port, "POST", "/v1/predict", png()) for _ in range(2)]
                assert {one.result()[0] for one in two} == {200}
        second = json.loads(asked(port, "POST", "/v1/predict", png())[1])
        assert second["sha256"] != first["sha256"] and second["predictions"] != first["predictions"]


WRONG = {
    ("--replicas", "2"): "--engine ray",
    ("--engine", "ray", "--replicas", "0"): "--replicas '0'",
    ("--engine", "ray", "--address", "nowhere"): "HOST:PORT",
    ("--engine", "ray", "--address", "127.0.0.1:1"): "no cluster of Ray answers at 127.0.0.1:1",
    ("--engine", "ray", "--address", "ray://127.0.0.1:10001"): "HOST:PORT or auto",
}


@pytest.mark.parametrize("words", WRONG, ids=" ".join)
def test_what_ray_cannot_do_is_one_line(words, capsys):
    code, lines = run(capsys, model(), "--port", 0, *words)
    errors = [line for line in lines if line.startswith("moganet:")]
    assert code == 2 and len(errors) == 1 and WRONG[words] in errors[0], lines


def test_without_ray_a_line_names_the_remedy(capsys, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "ray"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ray", None)
    code, lines = run(capsys, model(), "--port", 0, "--engine", "ray")
    assert code == 2 and lines[-1].endswith("--engine ray needs ray: pip install 'moganet[scale]'")


# As KubeRay's API reference lists them: docs/reference/api.md of ray-project/kuberay
FIELDS = {
    "service": {"serveService", "upgradeStrategy", "serveConfigV2", "rayClusterConfig", "excludeHeadPodFromServeSvc"},
    "cluster": {"autoscalerOptions", "enableInTreeAutoscaling", "headGroupSpec", "rayVersion", "workerGroupSpecs"},
    "head": {"template", "headService", "enableIngress", "rayStartParams", "serviceType"},
    "workers": {"groupName", "replicas", "minReplicas", "maxReplicas", "numOfHosts", "rayStartParams", "template"},
}


def test_the_example_for_kubernetes_is_what_ray_and_kuberay_take():
    from ray.serve.schema import ServeDeploySchema

    service = yaml.safe_load((ROOT / "rayservice.yaml").read_text())
    cluster = service["spec"]["rayClusterConfig"]
    (workers,) = cluster["workerGroupSpecs"]
    assert (service["apiVersion"], service["kind"]) == ("ray.io/v1", "RayService")
    places = {"service": service["spec"], "cluster": cluster, "head": cluster["headGroupSpec"], "workers": workers}
    for name, place in places.items():
        assert set(place) <= FIELDS[name], name
    (application,) = ServeDeploySchema.model_validate(yaml.safe_load(service["spec"]["serveConfigV2"])).applications
    module, _, name = application.import_path.partition(":")
    assert callable(getattr(importlib.import_module(module), name))
    options = Options.model_validate(application.args)
    spread = Spread.of(options.replicas)
    assert (spread.fewest, spread.most) == (workers["minReplicas"], workers["maxReplicas"])
    for group in (cluster["headGroupSpec"], workers):
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        assert {"readinessProbe", "livenessProbe", "resources"} <= set(container) and pod["securityContext"][
            "runAsNonRoot"
        ]
        assert {one["name"] for one in container["volumeMounts"]} == {one["name"] for one in pod["volumes"]}
        assert any(str(options.token_file).startswith(one["mountPath"]) for one in container["volumeMounts"])
    assert int(container["resources"]["requests"]["cpu"]) >= options.threads + 0.5  # a replica, and a door beside it
