"""Make the leadline dashboard of a wandb project; --dry-run only shows what it would be.

example: python scripts/wandb_dashboard.py lab/leadline --study size --dry-run
"""

import argparse
import json
import sys

from leadline.errors import UserError
from leadline.runs.tracking.wandb import dashboard


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("project", metavar="ENTITY/PROJECT")
    parser.add_argument("--study", metavar="NAME", help="the runs of one study alone")
    parser.add_argument("--dry-run", action="store_true", help="print the plan as JSON")
    chosen = parser.parse_args()
    entity, _, project = chosen.project.partition("/")
    described = dashboard.spec(chosen.study)
    try:
        dry = json.dumps(described, indent=1) if chosen.dry_run else None
        print(dry or dashboard.create(entity, project, described))
    except UserError as error:
        print(f"wandb_dashboard: {error}", file=sys.stderr)
        return 2
    return 0


sys.exit(main())
