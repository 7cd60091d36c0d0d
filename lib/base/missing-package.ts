/** Whether an import has failed because its package, or one that this needs, is not installed. */
export function isMissingPackage (reason: unknown): boolean {
  return reason instanceof Error && 'code' in reason && reason.code === 'ERR_MODULE_NOT_FOUND'
}

/**
 * For the import of a package that need not be installed: says which option wants it, and how to get it.
 *
 * @throws TypeError, always
 */
export function explainMissing (option: string, name: string): (cause: unknown) => never {
  return (cause) => {
    throw new TypeError(`Option "${option}" needs the package ${name}: npm install ${name}`, { cause })
  }
}
