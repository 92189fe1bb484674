"""What is printed reads back as the same, for every model and for every text."""

from hypothesis import HealthCheck, given, settings
from ios_models import configurations

from understudy.ios.model import Configuration
from understudy.ios.printer import print_configuration
from understudy.ios.reader import read_text


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(configurations())
def test_reading_what_is_printed_gives_the_same_model(configuration: Configuration) -> None:
    """Every kind of command with every option; no line of a printed model is refused."""
    text = print_configuration(configuration)
    reading = read_text(text)
    assert [line.refusal for line in reading.refused] == []
    assert reading.configuration == configuration
    assert print_configuration(reading.configuration) == text
