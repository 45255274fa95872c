"""The commands beside train.py: what they print and write, and their answers to bad input."""


def test_the_pages_on_neurons_and_data_are_what_code_and_measurements_say(tmp_path, script):
    done = script("document.py", "--check")
    assert done.returncode == 0, done.stderr


def test_prepare_data_packs_a_partial_set_says_so_and_checks_what_it_packed(tmp_path, real_data, script):
    words = ["dataset=nmnist", "dataset.num_steps=5", f"paths.data_dir={real_data('nmnist')}", "paths.cache_dir=cache"]
    missing = script("prepare_data.py", *words, "--check")
    assert missing.returncode == 1
    assert missing.stderr.count("\n") == 1
    done = script("prepare_data.py", *words)
    assert done.returncode == 0, done.stderr
    assert "1,000 of 60,000" in done.stdout
    checked = script("prepare_data.py", *words, "--check")
    assert checked.returncode == 0, checked.stderr
    (positions,) = (tmp_path / "cache" / "nmnist").glob("*/train.positions")
    data = bytearray(positions.read_bytes())
    data[1234] ^= 1
    positions.write_bytes(data)
    damaged = script("prepare_data.py", *words, "--check")
    assert damaged.returncode == 1
    assert damaged.stderr.count("\n") == 1
    assert "damaged" in damaged.stderr
    again = script("prepare_data.py", *words)
    assert again.returncode == 0
    assert "built again" in again.stderr
    assert script("prepare_data.py", *words, "--check").returncode == 0


def test_prepare_data_says_where_to_get_what_cannot_be_downloaded(tmp_path, script):
    done = script("prepare_data.py", "dataset=spoken_digits_spikes", f"paths.data_dir={tmp_path}")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "lauscher" in done.stderr


def test_prepare_data_of_an_unknown_data_set_is_one_line(tmp_path, script):
    done = script("prepare_data.py", "dataset=nmnits")
    assert done.returncode == 1
    assert done.stderr.strip() == "error: unknown dataset 'nmnits'; did you mean nmnist or mnist?"
