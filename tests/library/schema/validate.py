#!/usr/bin/env python3
"""Says of each line on standard input, a JSON document, whether it is valid by a schema: a line with true or false.

usage: validate.py SCHEMA.json < DOCUMENTS
"""

import json
import sys

import jsonschema


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        schema = json.load(file)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for line in sys.stdin:
        print(json.dumps(validator.is_valid(json.loads(line))))


if __name__ == "__main__":
    main()
