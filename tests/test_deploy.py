"""What is deployed, read as files: the images, docker-compose.yml, systemd units and Kubernetes manifests."""

import configparser
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from deploy.authority import furnish
from recipes.load import load
from server.containers import USER

ROOT = Path(__file__).parent.parent
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()
UNITS = sorted((ROOT / "deploy" / "systemd").glob("*.service"))
KUSTOMIZATION = yaml.safe_load((ROOT / "deploy" / "kubernetes" / "kustomization.yaml").read_text())
MANIFESTS = [
    pytest.param(manifest, id=f"{manifest['kind']} {manifest['metadata']['name']}")
    for file in KUSTOMIZATION["resources"]
    for manifest in yaml.safe_load_all((ROOT / "deploy" / "kubernetes" / file).read_text())
]
LOCKED = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
VERSIONS = ("1.29", "1.33", "1.37")


def name_of(requirement):
    return re.match(r"[A-Za-z0-9_.-]+", requirement)[0].lower()


def test_the_images_install_what_the_package_names_but_for_ray():
    named = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    lines = re.findall(r"-c \S*constraints.txt (.*?)(?:&&|\n)", DOCKERFILE.replace("\\\n", ""))
    installed = {word for line in lines for word in line.split()}
    assert len(lines) == 3
    assert installed == {name_of(requirement) for requirement in named} - {"ray"}


def test_the_containers_user_is_the_one_that_files_are_given_to():
    assert re.findall(r"--uid (\d+)", DOCKERFILE) == [str(USER)]
    assert [f"uid={USER}" in " ".join(one.get("tmpfs", [])) for one in SERVICES.values()].count(True) == 4
    for target in DOCKERFILE.split("\nFROM ")[-2:]:
        assert re.findall(r"^USER (.*)$", target, flags=re.MULTILINE) == ["qflock"]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_may_do_no_more_than_it_must(name):
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "ports" not in service
    assert "user" not in service
    assert "privileged" not in service
    assert service["mem_limit"]
    assert service["pids_limit"]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_that_lasts_is_watched_and_started_again_and_waits_for_what_it_needs(name):
    service = SERVICES[name]
    if name == "init":
        assert service["restart"] == "no"
        assert service["network_mode"] == "none"
        return
    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]["test"][:4] == ["CMD", "python", "-m", "deploy.health"]
    wanted = {"init": "service_completed_successfully"} if name == "superlink" else {"superlink": "service_healthy"}
    assert {one: how["condition"] for one, how in service["depends_on"].items()} == wanted


def volumes_of(name):
    return {volume.split(":")[0] for volume in SERVICES[name]["volumes"]}


def test_every_secret_is_mounted_where_it_is_needed_and_nowhere_else():
    assert {name for name in SERVICES if "tls" in volumes_of(name)} == {"init", "superlink"}
    assert {name for name in SERVICES if "executor" in volumes_of(name)} == {"init", "superlink", "serverapp"}
    assert {name for name in SERVICES if "secrets" in SERVICES[name]} == {"client-ibm"}
    assert "/node" in volumes_of("client")  # without a name: every node has its own


def test_nothing_is_installed_where_it_runs():
    assert "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION=1" in DOCKERFILE
    assert "--disable-runtime-dependency-installation" in SERVICES["superlink"]["command"]


def test_a_token_is_a_file_and_never_in_the_environment():
    settings = SERVICES["client-ibm"]["environment"]
    assert settings["QFLOCK_IBM_TOKEN_FILE"] == "/run/secrets/ibm_token"
    assert [key for key in settings if "TOKEN" in key] == ["QFLOCK_IBM_TOKEN_FILE"]


def test_one_setting_says_how_many_clients_there_are():
    assert SERVICES["client"]["scale"] == "${QFLOCK_CLIENTS:-3}"


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_starts_a_script_that_is_here_and_starts_it_again(unit):
    parser = configparser.RawConfigParser(strict=False)  # Environment may stand twice
    parser.optionxform = str
    parser.read_string(unit.read_text())
    service = parser["Service"]
    script = ROOT / service["ExecStart"].split()[0].removeprefix("/opt/qflock/")
    assert script.stat().st_mode & 0o111
    assert (service["Restart"], service["User"], service["NoNewPrivileges"]) == ("always", "qflock", "yes")
    assert service["ProtectSystem"] == "strict"
    assert parser["Install"]["WantedBy"] == "multi-user.target"


def test_the_operators_folder_of_keys_is_the_one_it_says_and_is_there_before_keys_are_copied():
    (unit,) = (one.read_text() for one in UNITS if one.stem == "qflock-operator")
    (enrolled,) = re.findall(r"QFLOCK_ENROLLED=(\S+)", unit)
    assert f"the keys of {enrolled}." in unit.splitlines()[0]
    guide = (ROOT / "deploy" / "README.md").read_text()
    (block,) = (one for one in re.findall(r"```sh\n(.*?)```", guide, flags=re.DOTALL) if f" {enrolled}/" in one)
    assert re.search(rf"^install -d \S+ qflock .*{enrolled} .*\ncp \S+ {enrolled}/$", block, flags=re.MULTILINE)


def test_every_demo_of_the_guide_can_be_run_has_a_twin_and_learns_for_as_long_as_it_needs():
    guide = (ROOT / "deploy" / "README.md").read_text()
    demos = re.findall(r"make demo RECIPE=([\w-]+)(?: SET=\"(.*?)\")?", guide)
    assert len(demos) == 4
    for name, changes in demos:
        assert load(name, changes.split()).student.twin
        assert name != "qd-llm-topic" or "rounds=" not in changes


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="this machine has no systemd-analyze")
def test_systemd_takes_the_units(tmp_path):
    for unit in UNITS:
        text = unit.read_text().replace("/opt/qflock", str(ROOT))
        (tmp_path / unit.name.replace("@", "@0")).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", *map(str, sorted(tmp_path.iterdir()))],
        capture_output=True,
        text=True,
        check=False,
    )
    ours = [line for line in done.stderr.splitlines() if "qflock" in line]
    assert (done.returncode, ours) == (0, [])


@pytest.mark.parametrize("script", ["superlink", "operator", "node"])
def test_a_script_says_what_it_lacks(script, tmp_path):
    command, env = ROOT / "deploy" / f"{script}.sh", {"PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert (
        "is missing: say which client" in done.stderr
        if script == "node"
        else "QFLOCK_SECURE: is not set" in done.stderr
    )


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("manifest", MANIFESTS)
def test_kubernetes_knows_every_key_of_a_manifest(manifest, version):
    kubernetes_validate.validate(manifest, version, strict=True)


def test_a_manifest_with_a_wrong_key_is_noticed():
    wrong = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}, "spec": {"prots": []}}
    with pytest.raises(kubernetes_validate.ValidationError, match="prots"):
        kubernetes_validate.validate(wrong, VERSIONS[0], strict=True)


@pytest.mark.parametrize("manifest", [one for one in MANIFESTS if one.values[0]["kind"] == "StatefulSet"])
def test_a_pod_may_do_no_more_than_it_must_and_mounts_what_it_has(manifest):
    pod = manifest["spec"]["template"]["spec"]
    claims = manifest["spec"]["volumeClaimTemplates"]
    has = {one["name"] for one in pod["volumes"]} | {one["metadata"]["name"] for one in claims}
    assert (pod["securityContext"]["runAsNonRoot"], pod["securityContext"]["runAsUser"]) == (True, USER)
    assert pod["automountServiceAccountToken"] is False
    for container in pod["containers"]:
        assert container["securityContext"] == LOCKED
        assert container["resources"]["limits"]["memory"]
        assert container["image"] in {image["name"] for image in KUSTOMIZATION["images"]}
        assert {mount["name"] for mount in container["volumeMounts"]} <= has
    made = {one["name"] for kind in ("configMapGenerator", "secretGenerator") for one in KUSTOMIZATION[kind]}
    wanted = {one.get("secret", {}).get("secretName") or one.get("configMap", {}).get("name") for one in pod["volumes"]}
    assert wanted - {None} <= made


def test_the_manifests_start_what_compose_starts():
    found = {
        container["name"]: container
        for manifest in MANIFESTS
        if manifest.values[0]["kind"] == "StatefulSet"
        for container in manifest.values[0]["spec"]["template"]["spec"]["containers"]
    }
    for name in ("superlink", "serverapp"):
        assert found[name]["command"] == SERVICES[name]["command"]


def test_every_file_that_kustomize_asks_for_is_made_by_the_authority(tmp_path):
    furnish(tmp_path / "secure", ["superlink"], nodes=3)
    for kind in ("configMapGenerator", "secretGenerator"):
        for one in KUSTOMIZATION[kind]:
            for file in one["files"]:
                assert (tmp_path / file.rpartition("=")[2]).is_file()
