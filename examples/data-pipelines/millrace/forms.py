"""What people may fill in."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth.password_validation import validate_password

from millrace.models import ABILITIES, PERMISSIONS, Connection, Team

REGIONS = [
    ("eu-west", "Europe (Ireland)"),
    ("eu-central", "Europe (Frankfurt)"),
    ("us-east", "USA (Virginia)"),
]


class SignIn(forms.Form):
    """Address and password."""

    email = forms.EmailField(widget=forms.EmailInput({"autocomplete": "username", "autofocus": True}))
    password = forms.CharField(widget=forms.PasswordInput({"autocomplete": "current-password"}))


class General(forms.Form):
    """Settings of a team."""

    name = forms.CharField(max_length=80, label="Team name")
    region = forms.ChoiceField(choices=REGIONS, label="Where the data stays")


class NewUser(forms.Form):
    """Somebody new."""

    name = forms.CharField(max_length=80)
    email = forms.EmailField()
    password = forms.CharField(
        widget=forms.PasswordInput({"autocomplete": "new-password"}), label="First password"
    )
    role = forms.ModelChoiceField(None, empty_label="Choose one")

    def __init__(self, *given: Any, team: Team, **more: Any) -> None:
        super().__init__(*given, **more)
        self.fields["role"].queryset = team.roles.all()

    def clean_password(self) -> str:
        """As the settings ask for."""
        validate_password(self.cleaned_data["password"])
        return str(self.cleaned_data["password"])


class GivenRole(forms.Form):
    """Another role for somebody."""

    role = forms.ModelChoiceField(None, empty_label="Choose one")

    def __init__(self, *given: Any, team: Team, **more: Any) -> None:
        super().__init__(*given, **more)
        self.fields["role"].queryset = team.roles.all()


class Permitted(forms.Form):
    """What a role may do."""

    permissions = forms.MultipleChoiceField(choices=list(PERMISSIONS.items()), required=False)


class NewToken(forms.Form):
    """A token of the API."""

    name = forms.CharField(max_length=60)
    abilities = forms.MultipleChoiceField(
        choices=list(ABILITIES.items()), widget=forms.CheckboxSelectMultiple, initial=["pipelines:read"]
    )


class NewConnection(forms.ModelForm):
    """A place that data comes from or goes to."""

    class Meta:
        model = Connection
        fields = ["name", "kind", "host", "account", "secret"]
        widgets = {"secret": forms.PasswordInput({"autocomplete": "off"})}


class NewSecret(forms.Form):
    """What opens a connection from now on."""

    secret = forms.CharField(max_length=200, widget=forms.PasswordInput({"autocomplete": "off"}))


class Note(forms.Form):
    """What people should know of a run."""

    note = forms.CharField(max_length=200)
