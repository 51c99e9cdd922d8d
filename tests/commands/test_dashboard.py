import os
import subprocess


def test_prints_the_panels_without_a_key_and_leaves_no_file(commands, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    environment = {key: value for key, value in os.environ.items() if key != "WANDB_API_KEY"}
    done = subprocess.run(
        [commands / "lightrnn-dashboard"],
        cwd=home,
        env={**environment, "HOME": str(home), "NETRC": str(home / "none"), "WANDB_MODE": "offline"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2 and "error: no W&B API key" in done.stderr
    assert "Perplexity vs. parameters" in done.stdout
    assert not list(home.glob("*.log"))
