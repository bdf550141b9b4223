"""Accounts, sessions, tokens and who may do what."""

import time
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from sqlalchemy import select, update
from typer.testing import CliRunner

from loraloom import cli
from loraloom.errors import (
    EntryUnknown,
    Forbidden,
    JobUnknown,
    PasswordRefused,
    PersonInvalid,
    PersonUnknown,
    SignInRefused,
    TooManyRequests,
)
from loraloom.studio import audit, passwords, tables
from loraloom.studio.people import Account
from loraloom.studio.rights import ALONE, NOBODY, Person, Role, Visibility, may
from loraloom.studio.studio import Studio
from loraloom.train import recipe
from loraloom.web.limits import Limit, Limits

WORDS = "blue horses swim far"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashes that take a millisecond."""
    monkeypatch.setattr(passwords, "HASHER", PasswordHasher(1, 8, 1))


@pytest.fixture
def maria(studio: Studio) -> Account:
    """The first account."""
    return studio.people.add(ALONE, "Maria", Role.OWNER, WORDS)


@pytest.fixture
def tom(studio: Studio, maria: Account) -> Account:
    """A member."""
    return studio.people.add(maria.person, "Tom", Role.MEMBER, "seven quiet teapots")


class TestPasswords:
    @pytest.mark.parametrize(
        "password",
        ["short", "password123", "Password2024!", "aaaaaaaaaaaa", "qwertyuiop", "maria is great",
         "my loraloom studio", "x" * 257, "half a character \ud800"],
    )  # fmt: skip
    def test_easily_guessed_ones_are_refused(self, password: str) -> None:
        with pytest.raises(PasswordRefused):
            passwords.check(password, "Maria")

    @pytest.mark.parametrize(
        "password", [WORDS, "0123456788x", "貓在月光下跳舞喝茶吃魚", "a b c d e f"]
    )
    def test_no_kinds_of_characters_are_asked_for(self, password: str) -> None:
        passwords.check(password, "Maria")

    def test_kept_as_argon2id_and_never_twice_the_same(self) -> None:
        kept = passwords.hashed(WORDS)
        assert kept.startswith("$argon2id$")
        assert kept != passwords.hashed(WORDS)
        assert passwords.fits(WORDS, kept)
        assert not passwords.fits(WORDS + " ", kept)
        assert not passwords.fits(WORDS, "")
        assert not passwords.fits("nobody has this password", None)

    def test_composed_and_decomposed_letters_are_the_same(self) -> None:
        assert passwords.fits("cafe\u0301 au lait", passwords.hashed("caf\u00e9 au lait"))

    def test_what_is_shipped_is_what_the_rfc_recommends(self) -> None:
        shipped = PasswordHasher()
        assert (shipped.memory_cost, shipped.time_cost, shipped.parallelism) == (65536, 3, 4)


class TestPeople:
    def test_the_first_is_an_owner_with_a_password(self, studio: Studio) -> None:
        assert not studio.people.any()
        for role, password in ((Role.MEMBER, WORDS), (Role.OWNER, None)):
            with pytest.raises(PersonInvalid, match="first account must be an owner"):
                studio.people.add(ALONE, "Maria", role, password)
        studio.people.add(ALONE, "Maria", Role.OWNER, WORDS)
        assert studio.people.any()

    @pytest.mark.parametrize("name", ["", "  ", "x" * 41, "a\0b", "a\u202eb", "<\x1b[31m"])
    def test_names_can_be_printed(self, studio: Studio, name: str) -> None:
        with pytest.raises(PersonInvalid, match="characters"):
            studio.people.add(ALONE, name, Role.OWNER, WORDS)

    def test_a_name_is_taken_whatever_its_case(self, studio: Studio, maria: Account) -> None:
        with pytest.raises(PersonInvalid, match="already"):
            studio.people.add(ALONE, "  mARIA ", Role.MEMBER)
        assert studio.people.sign_in(" MARIA", WORDS).id == maria.id

    def test_only_owners_change_accounts(
        self, studio: Studio, maria: Account, tom: Account
    ) -> None:
        viewer = Person(9, "V", Role.VIEWER)
        for person in (tom.person, viewer, NOBODY):
            with pytest.raises(Forbidden):
                studio.people.add(person, "Eve", Role.OWNER)
            with pytest.raises(Forbidden):
                studio.people.set_role(person, tom.id, Role.OWNER)
            with pytest.raises(Forbidden):
                studio.people.make_link(person, maria.id)
            with pytest.raises(Forbidden):
                studio.people.remove(person, maria.id)
            with pytest.raises(Forbidden):
                studio.people.set_password(person, maria.id, "another long one")

    def test_an_owner_always_stays(self, studio: Studio, maria: Account, tom: Account) -> None:
        with pytest.raises(PersonInvalid, match="only owner"):
            studio.people.set_role(maria.person, maria.id, Role.MEMBER)
        for last in (False, True):  # somebody else is left
            with pytest.raises(PersonInvalid, match="only owner"):
                studio.people.remove(maria.person, maria.id, last=last)
        second = studio.people.set_role(maria.person, tom.id, Role.OWNER).person
        studio.people.remove(second, maria.id)
        with pytest.raises(PersonInvalid):
            studio.people.remove(second, tom.id)
        studio.people.remove(ALONE, tom.id, last=True)
        assert not studio.people.any()

    def test_wrong_names_and_passwords_are_refused_in_the_same_words(
        self, studio: Studio, maria: Account
    ) -> None:
        invited = studio.people.add(maria.person, "Tom", Role.MEMBER)
        told = set()
        for name, password in (
            ("Maria", "wrong"), ("Eve", WORDS), (invited.name, ""), ("Mar\0ia\0", "x"), ("", ""),
        ):  # fmt: skip
            with pytest.raises(SignInRefused) as refused:
                studio.people.sign_in(name, password)
            told.add(str(refused.value))
        assert len(told) == 1

    def test_an_unknown_name_takes_as_long(
        self, studio: Studio, maria: Account, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        looked = []
        real = PasswordHasher.verify

        def verify(self: PasswordHasher, kept: str, password: str) -> bool:
            looked.append(kept)
            return bool(real(self, kept, password))

        monkeypatch.setattr(PasswordHasher, "verify", verify)
        for name in ("Maria", "Eve"):
            with pytest.raises(SignInRefused):
                studio.people.sign_in(name, "wrong")
        assert len(looked) == 2
        assert (
            looked[0].rpartition("$")[0].rpartition("$")[0]
            == (looked[1].rpartition("$")[0].rpartition("$")[0])
        )  # the same parameters

    def test_old_hashes_are_renewed_when_somebody_signs_in(
        self, studio: Studio, maria: Account, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(passwords, "HASHER", PasswordHasher(2, 16, 1))
        studio.people.sign_in("Maria", WORDS)
        with studio.database.reading() as connection:
            kept = connection.execute(select(tables.people.c.password)).scalar_one()
        assert "m=16,t=2" in kept
        studio.people.sign_in("Maria", WORDS)

    def test_a_link_is_used_once_and_expires(self, studio: Studio, maria: Account) -> None:
        tom = studio.people.add(maria.person, "Tom", Role.MEMBER)
        code = studio.people.make_link(maria.person, tom.id)
        with pytest.raises(PasswordRefused):
            studio.people.use_link(code, "short")
        assert studio.people.use_link(code, WORDS).id == tom.id
        assert studio.people.sign_in("Tom", WORDS).id == tom.id
        with pytest.raises(EntryUnknown):
            studio.people.use_link(code, WORDS)
        code = studio.people.make_link(maria.person, tom.id)
        with studio.database.writing() as connection:
            connection.execute(update(tables.people).values(link_until=time.time() - 1))
        with pytest.raises(EntryUnknown):
            studio.people.of_link(code)

    def test_changes_are_noted(self, studio: Studio, maria: Account, tom: Account) -> None:
        studio.people.set_role(maria.person, tom.id, Role.VIEWER)
        studio.tokens.make(tom.person, "nightly", 1)
        studio.people.remove(maria.person, tom.id)
        told = [(e.person, e.action, e.about) for e in audit.newest(studio.database)]
        assert told == [
            ("Maria", "person removed", "Tom"),
            ("Tom", "token made", "nightly"),
            ("Maria", "role changed", "Tom: member → viewer"),
            ("Maria", "person added", "Tom (member)"),
            (audit.HERE, "person added", "Maria (owner)"),
        ]


class TestSessionsAndTokens:
    def test_a_session_opens_until_it_ends(self, studio: Studio, maria: Account) -> None:
        secret = studio.sessions.begin(maria, "Firefox", "127.0.0.1")
        found = studio.sessions.who(secret)
        assert found == (maria.person, 1)
        assert studio.sessions.who("guessed") is None
        studio.sessions.end(maria.id, 1)
        assert studio.sessions.who(secret) is None
        assert not studio.sessions.holds(1, maria.person)

    def test_secrets_are_not_kept(self, studio: Studio, maria: Account, home: Path) -> None:
        secret = studio.sessions.begin(maria, "Firefox", "127.0.0.1")
        _, token = studio.tokens.make(maria.person, "nightly", None)
        code = studio.people.make_link(maria.person, maria.id)
        assert min(map(len, (secret, code))) == 43  # 256 bits
        kept = b"".join(path.read_bytes() for path in home.glob("studio.db*"))
        for given in (secret, token, token.removeprefix("loraloom_"), code, WORDS):
            assert given.encode() not in kept

    def test_a_session_expires(self, studio: Studio, maria: Account) -> None:
        secret = studio.sessions.begin(maria, "Firefox", "127.0.0.1")
        with studio.database.writing() as connection:
            connection.execute(update(tables.sessions).values(expires_at=time.time() - 1))
        assert studio.sessions.who(secret) is None
        assert studio.sessions.of(maria.id) == []

    def test_others_sessions_and_tokens_are_not_ones_own(
        self, studio: Studio, maria: Account, tom: Account
    ) -> None:
        secret = studio.sessions.begin(maria, "Firefox", "127.0.0.1")
        _, token = studio.tokens.make(maria.person, "nightly", 1)
        with pytest.raises(EntryUnknown):
            studio.sessions.end(tom.id, 1)
        with pytest.raises(EntryUnknown):
            studio.tokens.revoke(tom.person, 1)
        assert studio.sessions.who(secret)
        assert studio.tokens.who(token)

    def test_a_new_password_ends_the_other_sessions(self, studio: Studio, maria: Account) -> None:
        here, there = (studio.sessions.begin(maria, name, "") for name in ("here", "there"))
        studio.people.set_password(maria.person, maria.id, "nine loud kettles", keep=1)
        assert studio.sessions.who(here)
        assert studio.sessions.who(there) is None
        studio.people.set_password(ALONE, maria.id, "ten loud kettles")
        assert studio.sessions.who(here) is None

    def test_a_token_opens_until_it_is_revoked_or_expires(
        self, studio: Studio, maria: Account
    ) -> None:
        token, secret = studio.tokens.make(maria.person, "nightly", 1)
        assert token.is_valid
        assert studio.tokens.who(secret) == (maria.person, token.id)
        assert studio.tokens.of(maria.id)[0].used_at is not None
        studio.tokens.revoke(maria.person, token.id)
        studio.tokens.revoke(maria.person, token.id)
        assert studio.tokens.who(secret) is None
        _, secret = studio.tokens.make(maria.person, "again", 1)
        with studio.database.writing() as connection:
            connection.execute(update(tables.tokens).values(expires_at=time.time() - 1))
        assert studio.tokens.who(secret) is None

    def test_who_is_removed_is_out_and_their_jobs_stay(
        self, studio: Studio, maria: Account, tom: Account, tmp_path: Path
    ) -> None:
        config = recipe.resolve({"base": "starter", "data": {"folder": str(tmp_path)}})
        job = studio.jobs.seen_by(tom.person).add(config, "Tom's")
        secret = studio.sessions.begin(tom, "Firefox", "")
        _, token = studio.tokens.make(tom.person, "nightly", None)
        studio.people.remove(maria.person, tom.id)
        assert studio.sessions.who(secret) is None
        assert studio.tokens.who(token) is None
        assert studio.jobs.seen_by(maria.person).get(job.id).owner_id is None
        with pytest.raises(PersonUnknown):
            studio.people.get(tom.id)
        again = studio.people.add(maria.person, "Tom", Role.MEMBER)
        assert again.id != tom.id


class TestRights:
    @pytest.mark.parametrize("action", ["read", "change"])
    @pytest.mark.parametrize("role", list(Role))
    @pytest.mark.parametrize("visibility", list(Visibility))
    @pytest.mark.parametrize("owner_id", [1, 2, None])
    def test_things(
        self, action: str, role: Role, visibility: Visibility, owner_id: int | None
    ) -> None:
        person = Person(1, "Tom", role)
        if role is Role.OWNER:
            expected = True
        elif action == "read":
            expected = owner_id == 1 or visibility == "public"
        else:
            expected = role is Role.MEMBER and owner_id == 1
        assert may(person, action, owner_id, visibility) is expected  # type: ignore[arg-type]

    def test_the_studio(self) -> None:
        allowed = {
            (role, action)
            for role in Role
            for action in ("add", "manage")
            if may(Person(1, "", role), action)  # type: ignore[arg-type]
        }
        assert allowed == {("owner", "add"), ("owner", "manage"), ("member", "add")}
        assert may(ALONE, "manage")
        assert not may(NOBODY, "read")
        assert may(NOBODY, "read", 1, "public")

    def test_jobs_are_seen_and_changed_by_whom_they_concern(
        self, studio: Studio, maria: Account, tom: Account, tmp_path: Path
    ) -> None:
        config = recipe.resolve({"base": "starter", "data": {"folder": str(tmp_path)}})
        viewer = Person(99, "V", Role.VIEWER)
        of_maria, of_tom, of_viewer = (
            studio.jobs.seen_by(person) for person in (maria.person, tom.person, viewer)
        )
        one = of_maria.add(config, "Maria's")
        two = of_tom.add(config, "Tom's")
        three = studio.jobs.add(config, "of the command line")
        assert [job.id for job in of_maria.page()] == [three.id, two.id, one.id]
        assert [job.id for job in of_tom.page()] == [job.id for job in of_tom.all()] == [two.id]
        assert of_viewer.page() == of_viewer.events() == []
        assert {event.job_id for event in of_tom.events()} == {two.id}
        assert of_tom.known({one.id, two.id, three.id}) == {two.id}
        for steer in (of_tom.get, of_tom.cancel, of_tom.stop, of_tom.pause, of_tom.resume):
            with pytest.raises(JobUnknown):
                steer(one.id)
        with pytest.raises(JobUnknown):
            of_tom.add(config, "a child", parent=one.id)
        of_maria.share(one.id, Visibility.PUBLIC)
        assert of_tom.get(one.id) == of_viewer.get(one.id)
        with pytest.raises(Forbidden):
            of_tom.cancel(one.id)
        with pytest.raises(Forbidden):
            of_viewer.add(config, "a viewer's")
        of_maria.cancel(two.id)
        assert studio.jobs.get(one.id).state == "queued"


class TestLimits:
    def test_so_many_at_once_and_then_one_by_one(self) -> None:
        now = 0.0
        limit = Limit(5, 60, lambda: now)
        assert [limit.wait_s("a") for _ in range(6)] == [0] * 5 + [12]
        assert limit.wait_s("b") == 0
        now = 11.5
        assert limit.wait_s("a") == 1
        now = 12.0
        assert [limit.wait_s("a"), limit.wait_s("a")] == [0, 12]
        now = 10_000.0
        assert [limit.wait_s("a") for _ in range(6)] == [0] * 5 + [12]
        limit.forget("a")
        assert limit.wait_s("a") == 0

    def test_attempts_are_limited_by_name_and_by_address(self) -> None:
        limits = Limits()
        for _ in range(5):
            limits.try_sign_in("maria", "10.0.0.1")
        with pytest.raises(TooManyRequests, match="in 12 seconds"):
            limits.try_sign_in("maria", "10.0.0.1")
        limits.try_sign_in("maria", "10.0.0.2")
        limits = Limits()
        with pytest.raises(TooManyRequests):
            for number in range(21):
                limits.try_sign_in(f"name {number}", "10.0.0.1")
        limits = Limits()
        with pytest.raises(TooManyRequests):
            for number in range(31):
                limits.try_sign_in("maria", f"10.0.0.{number}")

    def test_one_network_of_ipv6_is_one_address(self) -> None:
        limits = Limits()
        with pytest.raises(TooManyRequests):
            for number in range(21):
                limits.try_sign_in(f"name {number}", f"2001:db8::{number:x}")


class TestCommands:
    def invoke(self, *arguments: str, given: str = "") -> str:
        result = CliRunner().invoke(cli.app, ["people", *arguments], input=given)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.output

    def test_accounts_by_the_command_line(self, studio: Studio) -> None:
        assert "No accounts" in self.invoke("list")
        typed = f"{WORDS}\n{WORDS}\n"
        assert WORDS not in self.invoke("add", "Maria", "--owner", given=typed)
        self.invoke("add", "Tom", "--stdin", given="seven quiet teapots\n")
        self.invoke("role", "tom", "viewer")
        assert [(a.name, a.role) for a in studio.people.all()] == [
            ("Maria", "owner"), ("Tom", "viewer"),
        ]  # fmt: skip
        assert "viewer" in self.invoke("list")
        self.invoke("password", "Tom", "--stdin", given="eight quiet teapots\n")
        assert studio.people.sign_in("Tom", "eight quiet teapots")
        token = self.invoke("token", "Tom", "--for", "nightly").strip()
        assert studio.tokens.who(token)
        self.invoke("remove", "Tom")
        with pytest.raises(PersonInvalid, match="only owner"):
            self.invoke("remove", "Maria")
        self.invoke("remove", "Maria", "--last")
        assert not studio.people.any()
