"""akv as a package: everything is read from settings.ini, where nbdev keeps it too."""
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
config = ConfigParser(delimiters=['='])
config.read(here / 'settings.ini', encoding='utf-8')
settings = config['DEFAULT']
lib_name, lib_path = settings['lib_name'], settings['lib_path']

setup(
    name=lib_name,
    version=settings['version'],
    description=settings['description'],
    long_description=(here / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    keywords=settings['keywords'],
    author=settings['author'],
    author_email=settings['author_email'],
    url=settings['git_url'],
    license='Apache-2.0',
    license_files=['LICENSE'],
    classifiers=[
        'Development Status :: 3 - Alpha',
        'Intended Audience :: ' + settings['audience'],
        'Natural Language :: ' + settings['language'],
        'Programming Language :: Python :: 3',
    ],
    package_dir={'': '.'},   # so that a folder `akv` in which somebody works does not hide an editable install
    packages=find_packages(include=[lib_path, lib_path + '.*']),
    package_data={lib_path: ['weights/*', 'weights/*/*', 'weights/*/*/*', 'static/*', 'demo/*', 'demo/*/*']},
    python_requires='>=' + settings['min_python'],
    install_requires=settings['requirements'].split(),
    extras_require={'dev': settings['dev_requirements'].split(), 'disclosure': settings['disclosure_requirements'].split(),
                    'ray': settings['ray_requirements'].split()},
    entry_points={
        'console_scripts': settings['console_scripts'].split(),
        'nbdev': [f'{lib_path}={lib_path}._modidx:d'],
    },
    zip_safe=False,
)
