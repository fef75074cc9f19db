"""Settings: what is misspelt or wrong is refused with words that help."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.embedded import variables
from shared.process.errors import Unusable
from shared.process.settings import (
    RENAMED,
    KafkaSettings,
    ServiceSettings,
    describe,
    load,
    names_of,
    prefix_of,
    refuse_unknown,
)
from shared.state.shop import ShopSettings


class BakerySettings(ServiceSettings):
    """A service's own settings."""

    model_config = SettingsConfigDict(env_prefix="FRESHET_BAKERY_", frozen=True)

    ovens: int = Field(2, ge=1, description="ovens in use")
    flour_dir: Path = Field(Path(".freshet/flour"), description="folder of the flour")
    motto: str = Field("", description="above the door")


def test_nothing_set_gives_the_defaults() -> None:
    settings = load(BakerySettings, {})
    assert (settings.ovens, settings.flour_dir, settings.log_level) == (2, Path(".freshet/flour"), "INFO")


def test_values_come_from_the_variables_in_any_case() -> None:
    given = {"FRESHET_BAKERY_OVENS": "7", "freshet_bakery_flour_dir": "/flour", "FRESHET_BAKERY_LOG_FORMAT": "json"}
    settings = load(BakerySettings, given)
    assert (settings.ovens, settings.flour_dir, settings.log_format) == (7, Path("/flour"), "json")


def test_a_given_environment_stands_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRESHET_BAKERY_OVENS", "9")
    assert load(BakerySettings, {}).ovens == 2
    assert load(BakerySettings).ovens == 9


def test_settings_stay_as_they_were_read() -> None:
    settings = load(BakerySettings, {})
    with pytest.raises(ValidationError, match="frozen"):
        settings.ovens = 3


def test_a_misspelt_name_is_refused_with_the_nearest_known_one() -> None:
    with pytest.raises(Unusable, match=r"FRESHET_BAKERY_OVEN; did you mean FRESHET_BAKERY_OVENS\?"):
        load(BakerySettings, {"FRESHET_BAKERY_OVEN": "3"})
    with pytest.raises(Unusable, match="unknown setting FRESHET_BAKERY_XYZZY_QUUX; --help lists the settings"):
        refuse_unknown([BakerySettings], {"FRESHET_BAKERY_XYZZY_QUUX": ""})


def test_a_misspelt_name_in_the_real_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRESHET_BAKERY_MOTO", "bread")
    with pytest.raises(Unusable, match="FRESHET_BAKERY_MOTTO"):
        load(BakerySettings)


def test_other_prefixes_are_nobodys_business() -> None:
    environ = {"FRESHET_TRAINER_OVENS": "1", "FRESHET_KAFKA_NONSENSE": "1", "BAKERY_OVEN": "1", "PATH": "/bin"}
    refuse_unknown([BakerySettings], environ)
    with pytest.raises(Unusable, match="FRESHET_KAFKA_NONSENSE"):
        refuse_unknown([BakerySettings, KafkaSettings], environ)


@pytest.mark.parametrize(
    "old", ["FRESHET_TRAINER_MASKED_KINDS", "FRESHET_INFERENCE_HISTORY_LENGTH", "FRESHET_EVALUATOR_MODELS_DIR"]
)
@pytest.mark.parametrize("read", [BakerySettings, KafkaSettings, ShopSettings])
def test_an_old_name_is_refused_with_the_new_one_by_whoever_reads_settings(old: str, read: type[BaseSettings]) -> None:
    new = f"FRESHET_SHOP_{old.split('_', 2)[2]}"
    for spelt in (old, old.lower()):
        with pytest.raises(Unusable, match=f"^{spelt} is now {new}, "):
            load(read, {spelt: ""})
        with pytest.raises(Unusable, match=f"^{spelt} is now {new}, "):
            variables.refuse_unknown({spelt: ""})
    assert new in names_of(ShopSettings)


def test_every_old_name_has_a_new_one_that_is_known_and_is_no_setting_itself() -> None:
    never_had_another = {"FRESHET_SHOP_TALLY_MEGABYTES"}
    assert set(RENAMED.values()) == set(names_of(ShopSettings)) - never_had_another
    assert not set(RENAMED) & {name for cls in variables.CLASSES for name in names_of(cls)}


@pytest.mark.parametrize("value", ["0", "many", "2.5", ""])
def test_a_wrong_value_is_refused_by_its_variables_name(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Unusable, match=f"^wrong setting: FRESHET_BAKERY_OVENS='{value}': ") as given:
        load(BakerySettings, {"FRESHET_BAKERY_OVENS": value})
    monkeypatch.setenv("FRESHET_BAKERY_OVENS", value)
    with pytest.raises(Unusable) as read:
        load(BakerySettings)
    assert str(read.value) == str(given.value)


def test_every_wrong_value_is_named_at_once() -> None:
    environ = {
        "FRESHET_KAFKA_PARTITIONS": "0",
        "FRESHET_KAFKA_TOPIC_PREFIX": "a b",
        "FRESHET_KAFKA_SECURITY_PROTOCOL": "X",
    }
    with pytest.raises(Unusable) as refused:
        load(KafkaSettings, environ)
    assert all(name in str(refused.value) for name in environ)


def test_the_names_are_prefix_and_field() -> None:
    assert prefix_of(BakerySettings) == "FRESHET_BAKERY_"
    assert names_of(BakerySettings) == [
        "FRESHET_BAKERY_LOG_LEVEL",
        "FRESHET_BAKERY_LOG_FORMAT",
        "FRESHET_BAKERY_METRICS_HOST",
        "FRESHET_BAKERY_METRICS_PORT",
        "FRESHET_BAKERY_OVENS",
        "FRESHET_BAKERY_FLOUR_DIR",
        "FRESHET_BAKERY_MOTTO",
    ]


def test_help_tells_every_variable_its_meaning_and_its_default() -> None:
    text = describe(BakerySettings, KafkaSettings)
    lines = text.splitlines()
    for name in [*names_of(BakerySettings), *names_of(KafkaSettings)]:
        meaning = lines[lines.index(f"  {name}") + 1]
        assert meaning.startswith("      ")
        assert "(default: " in meaning
    assert "      ovens in use (default: 2)" in lines
    assert "      above the door (default: none)" in lines
    assert "      file that holds the password, with SASL only (default: none)" in lines


def test_a_login_needs_a_user_and_a_password_file(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text(" open sesame \n")
    login = {"FRESHET_KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "FRESHET_KAFKA_SASL_USERNAME": "shop"}
    with pytest.raises(Unusable, match=r"SASL_SSL needs .*_SASL_USERNAME and FRESHET_KAFKA_SASL_PASSWORD_FILE"):
        load(KafkaSettings, login)
    settings = load(KafkaSettings, login | {"FRESHET_KAFKA_SASL_PASSWORD_FILE": str(password)})
    assert settings.read_password() == "open sesame"
    assert settings.uses_sasl
    password.write_bytes(b"\xff\xfe")
    with pytest.raises(Unusable, match=r"^FRESHET_KAFKA_SASL_PASSWORD_FILE="):
        settings.read_password()
    assert not load(KafkaSettings, {"FRESHET_KAFKA_SECURITY_PROTOCOL": "SSL"}).uses_sasl
