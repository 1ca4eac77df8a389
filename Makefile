.PHONY: demo push-t ablations test test-old test-reader docs lint fuzz torture clean

demo: ## Set up, then roll out edited episodes in the drawer twin and write runs/demo/report.html
	scripts/setup.sh sim,cpu
	.venv/bin/simedit-eval run --config configs/eval/demo.yaml --out runs/demo --num-envs 2

push-t: ## Set up, then judge Push-T policies that learned from raw and from edited pictures: runs/push-t/report.json
	scripts/setup.sh sim,cpu,push-t,data
	.venv/bin/simedit-lab push-t --out runs/push-t --set shipped=true pool=150 starts=20 tuned_steps=200

ablations: ## Set up, then vary one thing of the method at a time: runs/ablations/NAME/figure.png
	scripts/setup.sh sim,cpu,scores-lite
	.venv/bin/simedit-lab ablate --out runs/ablations

test: ## Set up, then pass the tests
	scripts/setup.sh sim,cpu,rt1,ray,dev,docs
	.venv/bin/pytest --numprocesses auto --dist loadfile

test-old: ## Set up, then pass the core tests with the original SimplerEnv's gymnasium 0.29, numpy 1.26 and SAPIEN 2
	scripts/setup.sh sim,cpu,rt1,ray,dev
	scripts/old_stack.sh

test-reader: ## Set up, then let LeRobot's own reader read datasets that were written and edited here
	scripts/setup.sh sim,cpu,rt1,ray,dev
	scripts/lerobot_reader.sh

docs: ## Set up, then build the documentation into build/site; a dead link fails
	scripts/setup.sh docs
	NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict

lint: ## Formatting, lint and types
	scripts/setup.sh sim,cpu,rt1,ray,dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	scripts/typecheck.sh

fuzz: ## Damaged and hostile files for every loader, by hand: MINUTES=30; what breaks one stays in runs/fuzz
	scripts/setup.sh sim,cpu,rt1,ray,dev
	.venv/bin/python scripts/fuzz.py --minutes $(or $(MINUTES),30)

torture: ## Kill, stop and interrupt studies and trainings at random moments, by hand: about an hour
	scripts/setup.sh sim,cpu,rt1,ray,dev
	.venv/bin/python scripts/torture_eval.py
	.venv/bin/python scripts/torture_training.py

clean: ## Remove what the commands above made, but no run
	rm -rf .venv .venv-old .venv-reader build *.egg-info .pytest_cache .ruff_cache .hypothesis
