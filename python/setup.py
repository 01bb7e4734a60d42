"""The wheel is for one platform, since it carries a program, and for any Python. The rest is in pyproject.toml."""

from setuptools import Distribution, setup

try:
    from setuptools.command.bdist_wheel import bdist_wheel
except ImportError:  # before setuptools 70
    from wheel.bdist_wheel import bdist_wheel


class ProgramWheel(bdist_wheel):
    def get_tag(self) -> tuple[str, str, str]:
        _, _, platform = super().get_tag()
        if platform.startswith('linux_'):  # the program is static: it asks nothing of a C library
            platform = platform.replace('linux_', 'manylinux_2_17_', 1)
        return 'py3', 'none', platform


class ProgramDistribution(Distribution):
    def has_ext_modules(self) -> bool:
        return True


setup(distclass=ProgramDistribution, cmdclass={'bdist_wheel': ProgramWheel})
