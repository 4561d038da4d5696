// Soon, and once: what is heard a hundred times within a second is asked for once.

/**
 * @param {() => void} act
 * @param {number} [wait] milliseconds from the first call to the act
 * @returns {() => void} asks for the act
 */
export function soon(act, wait = 1000) {
  let timer = null;
  return () => {
    timer ??= setTimeout(() => {
      timer = null;
      act();
    }, wait);
  };
}
