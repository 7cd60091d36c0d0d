import ts from 'typescript'
import { join, relative } from 'node:path'

export type CompilerOptions = Readonly<Record<string, unknown>>

/**
 * What the compiler finds wrong in a strict project.
 *
 * @param files the names of its files, in the folder `project`
 * @param isChecked says which files are looked at, of these and of all that they import
 */
export function findTypeErrors (project: string, files: readonly string[], options: CompilerOptions, isChecked: (file: string) => boolean): string[] {
  const compilerOptions = { target: 'es2023', strict: true, exactOptionalPropertyTypes: true, noEmit: true, types: ['node'], ...options }
  const config = ts.parseJsonConfigFileContent({ compilerOptions, files }, ts.sys, project, undefined, join(project, 'tsconfig.json'))
  const program = ts.createProgram(config.fileNames, config.options)
  const checked = program.getSourceFiles().filter(({ fileName }) => isChecked(fileName))
  return [
    ...config.errors,
    ...program.getConfigFileParsingDiagnostics(),
    ...program.getOptionsDiagnostics(),
    ...program.getGlobalDiagnostics(),
    ...checked.flatMap((file) => [...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file)])
  ].map((diagnostic) => describe(project, diagnostic))
}

function describe (project: string, { file, start = 0, messageText }: ts.Diagnostic): string {
  const message = ts.flattenDiagnosticMessageText(messageText, '\n')
  if (file === undefined) return message
  const { line, character } = file.getLineAndCharacterOfPosition(start)
  return `${relative(project, file.fileName)}:${line + 1}:${character + 1} ${message}`
}
