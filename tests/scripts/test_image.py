"""deploy/docker/build: what it says when something is missing, and what it asks of cargo. The commands
are stand-ins, and the build ends at cargo: tests/containers builds and runs the image itself."""

from stand_ins import ScriptTest

CROSS_COMPILER = "aarch64-linux-gnu-gcc"


class Image(ScriptTest):
    script = "deploy/docker/build"
    system = ("dirname", "python3")
    stand_ins = {
        "cargo": 'echo "linker ${CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER:-}, $RUSTFLAGS" >>"$CALLS"; exit 1',
        "cc": "",
        CROSS_COMPILER: "",
        "docker": "",
        "git": "",
        "rustc": "echo /",
        "uname": "echo x86_64",
    }

    def test_a_tool_that_is_missing_is_named_with_where_it_comes_from(self):
        sources = {
            "cargo": "https://rustup.rs",
            "cc": "build-essential",
            "docker": "https://docs.docker.com/engine/install",
            "git": "Debian package git",
            "python3": "Debian package python3",
        }
        self.assert_names_what_is_missing(sources)

    def test_another_architecture_needs_a_compiler_for_it(self):
        packages = "gcc-aarch64-linux-gnu and libc6-dev-arm64-cross"
        self.assert_names_what_is_missing({CROSS_COMPILER: packages}, ARCH="arm64")

    def test_another_architecture_needs_rusts_library_for_it(self):
        (self.bin / "rustc").write_text("#!/usr/bin/env bash\necho /no-such-directory\n")
        self.assert_fails(self.run_script(ARCH="arm64"), "rustup target add aarch64-unknown-linux-gnu")

    def test_an_architecture_that_is_not_known_is_refused(self):
        self.assert_fails(self.run_script(ARCH="riscv64"), "ARCH=riscv64 is not known: give amd64 or arm64")

    def test_a_daemon_that_does_not_answer_is_told_before_the_long_build(self):
        done = self.run_script(fails="docker version")
        self.assert_fails(done, "the Docker daemon does not answer: start it")
        self.assertFalse([call for call in self.made_calls() if call.startswith("cargo")])

    def test_the_binary_is_static_and_for_the_architecture_asked_for(self):
        for arch, target, linker in (
            ("amd64", "x86_64-unknown-linux-gnu", ""),
            ("arm64", "aarch64-unknown-linux-gnu", CROSS_COMPILER),
        ):
            with self.subTest(arch):
                self.run_script(ARCH=arch, HOME="/home/user")
                call, environment = self.made_calls()[-2:]
                self.assertIn(f"cargo build --release --locked --target {target} ", call)
                self.assertTrue(environment.startswith(f"linker {linker}, -C target-feature=+crt-static "))
