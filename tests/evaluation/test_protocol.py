from lightrnn_pl.evaluation.protocol import protocol_lines


def test_formats_a_protocol():
    protocol = {"end_marker": "<eos>", "begin_marker": None, "end_counted": True, "tokens": {"valid": 73760, "test": 8}}
    assert protocol_lines(protocol) == [
        ("end marker", "<eos>"),
        ("begin marker", "none"),
        ("end counted", "yes"),
        ("tokens", "valid 73,760, test 8"),
    ]
