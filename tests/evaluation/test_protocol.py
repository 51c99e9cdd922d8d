from lightrnn_pl.evaluation.protocol import protocol_lines


def test_a_protocol_is_told_in_words():
    protocol = {"end_marker": "<eos>", "begin_marker": None, "end_counted": True, "tokens": {"valid": 73760, "test": 8}}
    assert protocol_lines(protocol) == [
        ("end marker", "<eos>"),
        ("begin marker", "none"),
        ("end counted", "yes"),
        ("tokens", "valid 73,760, test 8"),
    ]
