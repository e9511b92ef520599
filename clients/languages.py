"""The languages of `make clients`: how a client is generated and compiled, and how it walks through the bank."""

from dataclasses import dataclass
from pathlib import Path

from clients.walks import WALKS

Command = tuple[str, ...]
CODE_ALONE = ("--global-property", "apis,models,supportingFiles,apiTests=false,modelTests=false")
JAVA = (
    *("--group-id", "example.fincore", "--artifact-id", "fincore-client", "--invoker-package", "example.fincore"),
    *("--api-package", "example.fincore.api", "--model-package", "example.fincore.model"),
    *("--additional-properties", "hideGenerationTimestamp=true", *CODE_ALONE),
)
# With its dependencies, so that the walk can be started without Maven.
MAVEN: tuple[Command, ...] = (("mvn", "--quiet", "--batch-mode", "compile", "dependency:copy-dependencies"),)
RUN_JAVA = ("java", "-cp", "target/classes:target/dependency/*", "Walk")


@dataclass(frozen=True, slots=True)
class Language:
    """A client: the tools that it needs, the generator's switches, its walk, and where the walk goes in the code.

    `walking` is the command that starts the walk, without the bank's address and the system user's password.
    """

    name: str
    tools: tuple[str, ...]
    switches: Command
    walk: Path
    place: str
    compiling: tuple[Command, ...]
    walking: Command

    @property
    def folder(self) -> str:
        return self.name.lower().replace(" ", "-")


# The generator itself runs on Java.
LANGUAGES = (
    Language(
        "Java native",
        ("java", "mvn"),
        ("-g", "java", "--library", "native", *JAVA),
        WALKS / "native" / "Walk.java",
        "src/main/java/Walk.java",
        MAVEN,
        RUN_JAVA,
    ),
    Language(
        "Java okhttp",
        ("java", "mvn"),
        ("-g", "java", "--library", "okhttp-gson", *JAVA),
        WALKS / "okhttp" / "Walk.java",
        "src/main/java/Walk.java",
        MAVEN,
        RUN_JAVA,
    ),
    Language(
        "Go",
        ("java", "go"),
        (
            *("-g", "go", "--package-name", "fincore", "--git-host", "fincore.example"),
            *("--git-user-id", "fincore", "--git-repo-id", "client", "--additional-properties"),
            "withGoMod=true,enumClassPrefix=true",
            *CODE_ALONE,
        ),
        WALKS / "walk.go",
        "walk/main.go",
        (("go", "mod", "tidy"), ("go", "build", "./..."), ("go", "build", "-o", "walk/walk", "./walk")),
        ("walk/walk",),
    ),
    Language(
        "Rust",
        ("java", "cargo"),
        ("-g", "rust", "--package-name", "fincore-client", "--additional-properties", "supportAsync=true"),
        WALKS / "walk.rs",
        "examples/walk.rs",
        (
            ("cargo", "add", "--quiet", "--dev", "tokio", "--features", "macros,rt-multi-thread"),
            ("cargo", "build", "--quiet", "--example", "walk"),
        ),
        ("target/debug/examples/walk",),
    ),
)
