"""URLs of libpq: what is taken from them, what is refused, and that no password is shown."""

import pytest

from stepwell._db._postgres_dsn import CONNECT_TIMEOUT_S, parse_dsn
from stepwell.checkpoint.postgres._driver import PostgresDriver
from stepwell.errors import UsageError


def test_what_asyncpg_knows_stays_in_the_url():
    address = parse_dsn("postgresql://u:p@db:5433/app?sslmode=require&target_session_attrs=any")
    assert address.url == "postgresql://u:p@db:5433/app?sslmode=require&target_session_attrs=any"
    assert (address.label, address.timeout_s) == ("db:5433/app", CONNECT_TIMEOUT_S)
    assert dict(address.settings) == {}


def test_parameters_of_libpq_that_asyncpg_does_not_know_are_translated():
    address = parse_dsn(
        "postgres://db/app?connect_timeout=3&fallback_application_name=mine&keepalives_idle=7"
        "&gssencmode=disable&client_encoding=UTF8&options=-c%20geqo%3Doff"
    )
    assert address.timeout_s == 3.0
    assert dict(address.settings) == {"application_name": "mine", "options": "-c geqo=off"}
    assert dict(address.keepalive) == {"keepalives_idle": 7}
    assert address.url == "postgres://db/app"


def test_an_application_name_wins_over_the_fallback():
    address = parse_dsn("postgresql://db/?application_name=a&fallback_application_name=b")
    assert address.settings["application_name"] == "a"


@pytest.mark.parametrize(
    ("dsn", "label"),
    [
        ("postgresql:///app?host=/run/pg", "/run/pg/app"),
        ("postgresql://u:p@/app?host=/run/pg", "/run/pg/app"),
        ("postgresql://a:1,b:2/app", "a:1,b:2/app"),
        ("postgresql://[::1]:5432/app", "[::1]:5432/app"),
        ("postgresql://%2Frun%2Fpg/app", "/run/pg/app"),
        ("postgresql://u:s3cret@db", "db"),
        ("postgresql://db?dbname=app&port=7", "db:7/app"),
    ],
)
def test_the_label_names_host_and_database(dsn, label):
    assert parse_dsn(dsn).label == label


def test_connect_arguments_win_over_the_url():
    address = parse_dsn(
        "postgresql://db/app?statement_timeout=1&connect_timeout=3",
        {"server_settings": {"statement_timeout": 2}, "timeout": 4, "password": "x"},
    )
    assert address.settings["statement_timeout"] == "2"
    assert address.timeout_s == 4.0
    assert address.options == {"password": "x"}


@pytest.mark.parametrize(
    ("dsn", "says"),
    [
        ("host=localhost dbname=x password=s3cret", "is no URL"),
        ("mysql://u:s3cret@db/x", "mysql://"),
        ("postgresql+asyncpg://u:s3cret@db/x", "postgresql+asyncpg://"),
        ("postgresql://u:s3c@ret@db/x", "Percent-encode"),
        ("postgresql://u:s3c#ret@db/x", "Percent-encode"),
        ("postgresql://u:s3cret/more@db/x", "percent-encoded"),
        ("postgresql://u:s3cret@db:port/x", "percent-encoded"),
        ("postgresql://u:s3cret@db:99999/x", "percent-encoded"),
        ("postgresql://u:s3cret@[::1/x", "Percent-encode"),
        ("postgresql://db/x?password=s3cret&what", "name=value"),
        ("postgresql://db/x?connect_timeout=soon&password=s3cret", "connect_timeout=soon"),
        ("postgresql://db/x?gssencmode=require&password=s3cret", "gssencmode"),
        ("postgresql://db/x?hostaddr=1.2.3.4&password=s3cret", "hostaddr"),
        (b"postgresql://u:s3cret@db/x", "bytes"),
    ],
)
def test_a_bad_url_is_refused_without_showing_the_password(dsn, says):
    with pytest.raises(UsageError, match="DSN") as caught:
        PostgresDriver(dsn)
    assert says in str(caught.value)
    seen = caught.value
    while seen is not None:
        # A traceback prints the causes too.
        assert "s3c" not in str(seen)
        seen = seen.__cause__ or seen.__context__


def test_the_address_hides_the_password_when_printed():
    address = parse_dsn("postgresql://u:s3cret@db/x", {"password": "s3cret"})
    assert "s3cret" not in repr(address)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "either a DSN"),
        ({"dsn": "postgresql://db", "pool_size_max": 2}, "pool_size_max=2"),
        ({"dsn": "postgresql://db", "locks": "none"}, "locks='none'"),
        ({"dsn": "postgresql://db", "schema": ""}, "schema"),
        ({"dsn": "postgresql://db", "schema": "x" * 64}, "schema"),
        ({"dsn": "postgresql://db", "schema": "a\0b"}, "schema"),
        ({"dsn": "postgresql://db", "connect": {"server_settings": "x"}}, "server_settings"),
        ({"pool": object()}, "asyncpg.Pool"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(options, says):
    with pytest.raises(UsageError) as caught:
        PostgresDriver(options.pop("dsn", None), **options)
    assert says in str(caught.value)


@pytest.mark.parametrize("module", ["psycopg", "psycopg_pool", "psycopg2.extensions"])
@pytest.mark.parametrize("how", ["dsn", "pool"])
def test_an_object_of_psycopg_is_answered_with_the_way_out(module, how):
    """LangGraph's saver takes psycopg connections; whoever brings one is told what to write."""
    theirs = type("Connection", (), {"__module__": module})()
    with pytest.raises(UsageError, match="from_conn_string"):
        PostgresDriver(**{how: theirs})
